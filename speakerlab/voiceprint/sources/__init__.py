"""Where many people are enrolled from: folders, spreadsheets, lists, Kaldi data dirs, files of vectors."""
