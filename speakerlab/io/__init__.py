"""The only readers and writers of audio and archives."""
