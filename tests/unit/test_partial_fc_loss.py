"""Partial FC in two gloo processes against the unsharded softmax, and the size of what a step computes."""

import math

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from speakerlab.nn.losses.aam_softmax import AamSoftmax, AamSoftmaxConfig
from speakerlab.nn.losses.partial_fc import PartialFc, PartialFcConfig

NUM_CLASSES, EMBED_DIM, WORLD = 31, 6, 2
RATES = (1.0, 0.5, 0.01)
# Several crops of one class, classes of both processes in the batch of each, the first and the last class.
LABELS = torch.tensor([0, 30, 14, 15, 3, 3, 16, 30])
HALF = len(LABELS) // WORLD


def features():
    return torch.randn(
        len(LABELS), EMBED_DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )


class Network(nn.Module):
    """A network and the loss behind it, as the training loop wraps them."""

    def __init__(self, loss):
        super().__init__()
        torch.manual_seed(7)
        self.model, self.loss = nn.Linear(EMBED_DIM, EMBED_DIM).double(), loss

    def forward(self, x, labels):
        return self.loss(self.model(x), labels)[0]


def process(rank, path):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{path}/meet", rank=rank, world_size=WORLD)
    labels = LABELS.chunk(WORLD)[rank]
    found = {}
    for rate in RATES:
        torch.manual_seed(5)
        loss = PartialFc(PartialFcConfig(margin=0.3, sample_rate=rate), EMBED_DIM, NUM_CLASSES).double()
        embeddings = features().chunk(WORLD)[rank].clone().requires_grad_()
        value, _ = loss(embeddings, labels)
        value.backward()
        found[rate] = (value.item(), embeddings.grad, loss.weight.detach().clone(), loss.weight.grad.clone())
    network = Network(loss)
    loss.config = PartialFcConfig(margin=0.3, sample_rate=1.0)
    loss.weight.grad = None
    names = [f"loss.{name}" for name in loss.SHARDED]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, names)
    parallel = DistributedDataParallel(network)  # must outlive the backward pass, in which it averages
    value = parallel(features().chunk(WORLD)[rank], labels)
    value.backward()
    found["network"] = (value.item(), network.model.weight.grad, loss.weight.detach(), loss.weight.grad)
    torch.save(found, path / f"rank{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each process found."""
    path = tmp_path_factory.mktemp("partial_fc")
    multiprocessing.spawn(process, args=(path,), nprocs=WORLD)
    return [torch.load(path / f"rank{rank}.pt") for rank in range(WORLD)]


def dense(weight, classes):
    """The unsharded loss over some of the classes, and the labels among them."""
    loss = AamSoftmax(AamSoftmaxConfig(margin=0.3), EMBED_DIM, len(classes)).double()
    loss.weight.data.copy_(weight[classes])
    return loss, torch.tensor([classes.tolist().index(label) for label in LABELS.tolist()])


@pytest.mark.parametrize("rate", RATES)
def test_two_processes_compute_the_unsharded_loss_over_the_sampled_classes(ranks, rate):
    values, embedding_grads, weights, weight_grads = zip(*(found[rate] for found in ranks), strict=True)
    grads = torch.cat(weight_grads)
    sampled = grads.abs().sum(1).nonzero().squeeze(1)  # softmax gives every class in it a gradient
    in_batch = [len(set(LABELS.tolist()) & set(part)) for part in (range(15), range(15, 31))]
    counts = [max(math.ceil(rate * size), own) for size, own in zip((15, 16), in_batch, strict=True)]
    assert [int((sampled < 15).sum()), int((sampled >= 15).sum())] == counts
    assert set(LABELS.tolist()) <= set(sampled.tolist())
    loss, labels = dense(torch.cat(weights), sampled)
    embeddings = features().requires_grad_()
    value, _ = loss(embeddings, labels)
    value.backward()
    assert values == pytest.approx([value.item()] * WORLD, rel=1e-12)
    torch.testing.assert_close(torch.cat(embedding_grads), WORLD * embeddings.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(grads[sampled], loss.weight.grad, rtol=1e-9, atol=1e-12)


def test_behind_a_network_in_two_processes_the_gradients_are_those_of_one(ranks):
    values, network_grads, weights, weight_grads = zip(*(found["network"] for found in ranks), strict=True)
    loss, labels = dense(torch.cat(weights), torch.arange(NUM_CLASSES))
    network = Network(loss)
    value = network(features(), labels)
    value.backward()
    assert values == pytest.approx([value.item()] * WORLD, rel=1e-12)
    for grad in network_grads:
        torch.testing.assert_close(grad, network.model.weight.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(torch.cat(weight_grads), loss.weight.grad, rtol=1e-9, atol=1e-12)


def test_processes_start_with_centres_of_their_own(ranks):
    first, second = (found[1.0][2] for found in ranks)
    assert len(first) == 15
    assert len(second) == 16
    assert not torch.isclose(first, second[:15]).any()


def test_sampling_changes_from_step_to_step_and_repeats_with_the_seed():
    loss = PartialFc(PartialFcConfig(sample_rate=0.2), EMBED_DIM, 1000)

    def sampled():
        loss.weight.grad = None
        loss(features().float(), LABELS)[0].backward()
        return loss.weight.grad.abs().sum(1).nonzero().squeeze(1).tolist()

    torch.manual_seed(1)
    one, two = sampled(), sampled()
    torch.manual_seed(1)
    assert sampled() == one != two
    assert len(one) == len(two) == 200


class Sizes(TorchDispatchMode):
    """The shapes of everything that is computed."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        outputs = result if isinstance(result, tuple | list) else [result]
        self.shapes |= {tuple(x.shape) for x in outputs if isinstance(x, torch.Tensor)}
        return result


def test_a_step_with_a_million_classes_scores_only_the_sampled():
    num_classes, sampled, size = 1_000_000, 1000, 8
    loss = PartialFc(PartialFcConfig(sample_rate=sampled / num_classes), 2, num_classes)
    embeddings = torch.randn(size, 2, requires_grad=True)
    with Sizes() as forward:
        value, logits = loss(embeddings, torch.arange(size) * 100_003)
    with Sizes() as backward:
        value.backward()
    assert logits is None
    assert (size, sampled) in forward.shapes
    wide = {shape for shape in forward.shapes | backward.shapes if math.prod(shape) > 2 * size * sampled}
    assert wide == {
        (num_classes,),
        (num_classes, 2),
    }  # the drawing of the sample, the gradient of the centres
    assert (num_classes, 2) not in forward.shapes
    assert value.isfinite()


def test_a_checkpoint_of_other_classes_is_refused():
    loss = PartialFc(PartialFcConfig(), EMBED_DIM, 10)
    state = loss.state_dict()
    loss.load_state_dict(state)
    state["_extra_state"] = {"first": 10, "end": 20, "num_classes": 20}
    with pytest.raises(ValueError, match="holds classes 10 to 20 of 20, this process 0 to 10 of 10"):
        loss.load_state_dict(state)


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_the_sample_rate_is_checked(rate):
    with pytest.raises(ValueError, match="sample_rate: must be in"):
        PartialFcConfig(sample_rate=rate)
