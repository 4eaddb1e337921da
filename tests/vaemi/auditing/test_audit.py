"""Auditing any encoder: what is accepted, each known mistake is noticed, and a clean model gets no remark."""

import itertools
import json
import math
import re
from collections import namedtuple
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace, Normal

import vaemi
from vaemi import AuditError
from vaemi.auditing.sums import Sums
from vaemi.criteria import CriteriaSketch
from vaemi.information.answers import SCALES, Answer

N, H = 4000, 6
# Variances of the posteriors of the three factors that are used; the means have what is left to 1.
VARIANCES = torch.tensor([0.02, 0.1, 0.4])
# Means are normal: 1/2 log(1 / sigma^2), up to the draw of the inputs.
NATS = torch.cat([-0.5 * VARIANCES.log(), torch.zeros(3)]).double()
FROM_VARIANCE = {
    "log_variance": torch.log,
    "variance": lambda variance: variance,
    "std": torch.sqrt,
    "log_std": lambda variance: 0.5 * variance.log(),
}


@pytest.fixture(scope="module")
def x():
    return torch.randn(N, 8, generator=torch.Generator().manual_seed(3))


def posterior(x):
    """Mean and variance under which every factor's marginal is N(0, 1)."""
    mean, variance = torch.zeros(len(x), H), torch.ones(len(x), H)
    mean[:, :3], variance[:, :3] = (1 - VARIANCES).sqrt() * x[:, :3], VARIANCES
    return mean, variance


def encode(x):
    mean, variance = posterior(x)
    return mean, variance.log()


def audit(encode, batches, **settings):
    return vaemi.audit(encode, batches, progress=False, **settings)


class Model(nn.Module):
    """A model with dropout and batch normalization, which in eval mode do nothing."""

    def __init__(self):
        super().__init__()
        self.drop, self.normalize = nn.Dropout(0.5), nn.BatchNorm1d(8)
        self.modes = set()

    def encode(self, x):
        self.modes.add(self.training)
        assert not torch.is_grad_enabled()
        return encode(self.drop(self.normalize(x)))


class Module(nn.Module):
    """A module with the VAE inside, as in Lightning."""

    def __init__(self, model):
        super().__init__()
        self.model = model


def assert_clean(found, x):
    """The numbers are those of `factor_information`, and there is no remark."""
    expected = vaemi.factor_information(*encode(x))
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-4, rtol=0)
    assert found.remarks == []
    assert found.information.n_samples == N


def test_a_clean_encoder_is_measured_and_gets_no_remark(x):
    found = audit(encode, x)
    assert_clean(found, x)
    assert torch.all((found.information.nats - NATS).abs() < 4 * found.information.stderr + 1e-6)
    assert found.influential.tolist() == [0, 1, 2]
    assert (found.latent_dim, found.latent_dim_range, found.uncertain.tolist()) == (3, (3, 3), [])
    assert (found.scale, found.n_batches, found.latent_shape, found.is_spatial) == ("log_variance", 16, (H,), False)
    assert found.source == "encode"
    assert "3 of 6 factors carry more than 0.1 nats, from 4,000 inputs" in str(found)
    assert found.to_frame()["influential"].tolist() == ["yes"] * 3 + ["no"] * 3


class ForeignArray:
    """An array of another library, such as JAX's, which are read-only."""

    def __init__(self, tensor):
        self.array = tensor.numpy()
        self.array.flags.writeable = False
        self.shape = self.array.shape

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize(
    "answer",
    [
        lambda mean, variance: (mean.numpy(), variance.log().numpy()),
        lambda mean, variance: [mean, variance.log()],
        lambda mean, variance: (mean, variance.log(), mean),
        lambda mean, variance: (mean, variance.log(), Normal(mean, variance.sqrt()).sample()),
        lambda mean, variance: ((mean, variance.log()), {"loss": 3.0}),
        lambda mean, variance: ({"mu": mean, "log_var": variance.log()},),
        lambda mean, variance: namedtuple("Posterior", "mu, sigma")(mean, variance.sqrt()),
        lambda mean, variance: {"mu": mean.numpy(), "logvar": variance.log().numpy()},
        lambda mean, variance: (ForeignArray(mean), ForeignArray(variance.log())),
        lambda mean, variance: Normal(mean, variance.sqrt()),
        lambda mean, variance: Independent(Normal(mean, variance.sqrt()), 1),
        lambda mean, variance: {"mu": mean, "logvar": variance.log()},
        lambda mean, variance: {"loc": mean, "scale": variance.sqrt(), "z": mean},
        lambda mean, variance: {"qz": Normal(mean, variance.sqrt()), "z": mean},
        lambda mean, variance: SimpleNamespace(mean=mean, var=variance),
        lambda mean, variance: SimpleNamespace(
            latent_dist=SimpleNamespace(mean=mean, logvar=variance.log(), std=variance.sqrt())
        ),
    ],
)
def test_every_form_of_answer_is_read(x, answer):
    assert_clean(audit(lambda batch: answer(*posterior(batch)), x), x)


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.numpy(),
        lambda x: iter(x.split(500)),
        lambda x: [(part, torch.zeros(len(part))) for part in x.split(300)],
        lambda x: torch.utils.data.DataLoader(x, batch_size=100),
        lambda x: torch.utils.data.TensorDataset(x, torch.zeros(len(x))),
    ],
)
def test_every_form_of_batches_is_taken(x, form):
    assert_clean(audit(encode, form(x)), x)


def test_a_batch_is_handed_over_whole_if_asked(x):
    pairs = [(part, part + 1) for part in x.split(500)]
    assert_clean(audit(lambda pair: encode(pair[1] - 1), pairs, whole_batch=True), x)


@pytest.mark.parametrize("wrap", [lambda m: m, Module, lambda m: m.encode])
def test_a_model_is_put_into_eval_mode_and_back(x, wrap):
    model = Model()
    model.normalize.eval()
    found = audit(wrap(model), x)
    assert model.modes == {False}
    assert (model.training, model.drop.training, model.normalize.training) == (True, True, False)
    torch.testing.assert_close(model.normalize.running_mean, torch.zeros(8))
    assert_clean(found, x)


def test_the_books_own_model_takes_pictures_as_they_are_stored(tiny_model, tiny_images):
    found = audit(tiny_model.train(), tiny_images)
    with torch.no_grad():
        expected = vaemi.factor_information(*tiny_model.encode(tiny_images / 255))
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("true", "said"), list(itertools.permutations(SCALES, 2)))
def test_a_wrong_scale_is_noticed_and_the_right_one_named(x, true, said):
    def wrong(batch):
        mean, variance = posterior(batch)
        return mean, FROM_VARIANCE[true](variance)

    if true.startswith("log_") and not said.startswith("log_"):
        with pytest.raises(AuditError, match=r"must be greater than 0: it is probably a logarithm"):
            audit(wrong, x, scale=said)
        return
    # Too narrow posteriors look as if there were too few samples, too.
    remark, *others = audit(wrong, x, scale=said).remarks
    assert remark.startswith(f"The second output was read as {said}")
    assert f"scale={true!r}" in remark
    assert all("too few to measure" in other for other in others)
    # The advice can be followed.
    assert_clean(audit(wrong, x, scale=true), x)


def test_a_name_is_believed_unless_sigma_star_is_far_off(x):
    """A model that was not trained to the end has such a departure."""

    def deviations(batch):
        mean, log_variance = encode(batch)
        return {"mu": mean, "logvar": 0.5 * log_variance}

    assert audit(deviations, x).remarks == []
    assert audit(lambda batch: tuple(deviations(batch).values()), x).remarks != []
    (remark,) = audit(lambda batch: dict(zip(("mu", "logvar"), posterior(batch), strict=True)), x).remarks
    assert "scale='variance'" in remark
    assert_clean(audit(lambda batch: Normal(*posterior(batch)), x, scale="variance"), x)


def test_the_right_scale_is_seen_on_a_model_whose_factors_are_all_used(x):
    """Factors that are used to different degrees show it, also where held-out marginals are a little off."""
    variances = torch.logspace(-4, -0.5, 8)

    def log_std(batch):
        return 1.02 * (1 - variances).sqrt() * batch, 0.5 * variances.log().expand_as(batch)

    (remark,) = audit(log_std, x).remarks
    assert "scale='log_std'" in remark
    followed = audit(log_std, x, scale="log_std")
    assert (followed.remarks, followed.undecided) == ([], [])
    for width in (0.97, 1.03):
        assert audit(lambda batch, width=width: (width * encode(batch)[0], encode(batch)[1]), x).remarks == []


def alike(batch):
    """Eight factors that are all used to a similar degree, with marginals that are too wide by a twentieth."""
    variance = torch.linspace(0.05, 0.07, 8).expand_as(batch)
    return 1.02 * (1 - variance).sqrt() * batch, variance.log()


KL_OF_ALIKE = 0.5 * (1.02**2 * (1 - 0.06) + 0.06 - 1 - math.log(0.06)) * 8


@pytest.mark.parametrize("said", ["log_variance", "log_std"])
def test_where_sigma_star_cannot_tell_that_is_said_and_the_kl_term_decides(x, said):
    found = audit(alike, x, scale=said)
    assert found.remarks == []
    (doubt,) = found.undecided
    assert found.notes[-1] == doubt
    assert f"read as {said}. sigma* does not show whether it is the " in doubt
    assert "pass kl=" in doubt
    found = audit(alike, x, scale=said, kl=KL_OF_ALIKE)
    assert found.undecided == []
    if said == "log_variance":
        assert found.remarks == []
    else:
        (remark,) = found.remarks
        assert f"not the {KL_OF_ALIKE:.3g} nats of the training" in remark
        assert "say scale='log_variance'" in remark


def test_a_kl_term_that_no_reading_has_is_doubted(x):
    (remark,) = audit(alike, x, kl=8 * KL_OF_ALIKE).remarks
    assert "not multiplied by beta" in remark
    assert f"{KL_OF_ALIKE:.2g}"[:2] in remark


def test_an_answer_of_variances_where_all_factors_are_alike_is_not_called_a_deviation(x):
    def variances(batch):
        mean, log_variance = alike(batch)
        return mean, log_variance.exp()

    (remark,) = audit(variances, x).remarks
    assert "is never negative" in remark
    assert "scale='variance' or scale='std'" in remark
    assert "pass kl=" in remark
    (remark,) = audit(variances, x, kl=KL_OF_ALIKE).remarks
    assert "say scale='variance'" in remark


def test_inputs_up_to_255_are_recognized(x):
    pixels = (x.clamp(-2, 2) * 63 + 128).round()

    def trained_on_unit_inputs(batch):
        return encode((batch.float() - 128) / 63 if batch.max() < 1 else 0.1 * batch)

    (remark,) = audit(trained_on_unit_inputs, pixels).remarks
    assert remark.startswith("The inputs are whole numbers from 0 to 255")
    assert audit(lambda batch: encode((batch - 128) / 63), pixels).remarks == []
    with pytest.raises(AuditError, match=r"of shape \(256, 8\) and torch.uint8"):
        audit(nn.Linear(8, 8), pixels.to(torch.uint8))


def test_a_small_bracket_is_no_remark_and_places_are_named(x):
    """A thousand inputs know about two nats within some hundredths."""
    few = audit(lambda batch: (0.995 * batch, torch.full_like(batch, math.log(0.01))), x[:1000])
    gap = few.information.leave_one_out - few.information.nats
    assert (gap - few.information.stderr).max() > 0
    assert few.remarks == []
    (remark,) = audit(lambda x: tuple(part.view(-1, 3, 2) for part in encode(x)), x[:30], channel_axis=1).remarks
    assert "channel 0 at 0 is between" in remark


def test_a_log_variance_that_is_never_negative_is_doubted(x):
    """sigma* does not help, as the means are wide."""
    (remark,) = audit(lambda batch: (3 * batch, 0.3 + 0.5 * batch[:, :1].abs().expand_as(batch)), x).remarks
    assert "is never negative" in remark


def test_a_prior_that_does_not_pull_is_noticed(x):
    (remark,) = audit(lambda batch: (5 * batch, torch.full_like(batch, -0.1)), x[:, :2]).remarks
    assert "sigma* is far from 1 (median 5." in remark
    assert "the prior pulls little" in remark


def test_a_sequence_is_read_along_its_last_axis_if_told(x):
    """(B, T, H): the answers of each factor are those of a channel."""

    def sequence(batch):
        return tuple(part[:, None].expand(-1, 4, -1) for part in encode(batch))

    silent = audit(sequence, x)
    assert silent.latent_shape == (4, H)
    (doubt,) = silent.undecided
    assert "read as 4 channels at 6 places" in doubt
    assert "channel_axis=-1" in doubt
    shapes = set()

    def decode(z):
        shapes.add(tuple(z.shape[1:]))
        return z[..., :1]

    found = audit(sequence, x, channel_axis=-1, decode=decode)
    assert (found.latent_shape, found.undecided, found.latent_dim) == ((H, 4), [], 3)
    expected = vaemi.factor_information(*encode(x)).nats
    torch.testing.assert_close(found.maps, expected[:, None].expand(-1, 4), atol=1e-4, rtol=0)
    assert shapes == {(4, H)}
    assert found.effective.tolist() == [True] + [False] * 5
    with pytest.raises(AuditError, match="channel_axis is 3"):
        audit(sequence, x, channel_axis=3)
    assert audit(lambda batch: tuple(part[..., None] for part in sequence(batch)), x).undecided == []


class Recorder(nn.Module):
    """Encodes in two ways: `encode` is right, the forward pass is something else."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def encode(self, x):
        return encode(self.drop(x))

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        nn.DataParallel,
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
        lambda model: partial(model.encode),
        lambda model: torch.compile(model.encode, backend="eager"),
        lambda model: torch.optim.swa_utils.AveragedModel(model),
    ],
)
def test_wrapped_models_are_those_that_they_hold(x, wrap):
    model = Recorder().train()
    assert_clean(audit(wrap(model), x), x)
    assert model.training


def test_training_mode_in_a_function_is_noticed(x):
    model = Model()
    model.normalize.eval()
    (remark, *_) = audit(lambda batch: model.encode(batch), x).remarks
    assert "encoded twice gives different answers" in remark
    assert model.training, "what a function calls is left as it is"
    assert_clean(audit(lambda batch: model.eval().encode(batch), x), x)
    model.normalize.train()
    (remark, *_) = audit(lambda batch: model.encode(batch), [*(x * 3 + 1).split(50)]).remarks
    assert "Half a batch gives different answers" in remark


def test_too_few_samples_are_noticed(x):
    (remark,) = audit(encode, x[:30]).remarks
    assert remark.startswith("30 inputs are too few to measure")
    assert f"{math.log(30):.2f} nats" in remark


def test_a_collapsed_posterior_is_noticed(x):
    found = audit(lambda batch: (torch.zeros(len(batch), 2), torch.zeros(len(batch), 2)), x)
    (remark,) = found.remarks
    assert "the same for every input" in remark
    assert found.latent_dim == 0


@pytest.mark.parametrize("part", [0, 1])
def test_a_value_that_is_not_finite_is_an_error_with_the_batch(x, part):
    x = x.clone()
    x[700, 0] = math.nan

    def broken(batch):
        answer = list(encode(batch.nan_to_num()))
        answer[part] = answer[part] + batch[:, :1] * 0
        return tuple(answer)

    with pytest.raises(AuditError, match=r"returned in batch 3 values of the .* not finite \(6 in all\), .* input 188"):
        audit(broken, x)


def test_an_uncertain_factor_is_named(x):
    """Its information lies within the error of the threshold."""
    nats = audit(encode, x).information.nats[2].item()
    found = audit(encode, x, threshold=nats - 1e-4)
    assert found.uncertain.tolist() == [2]
    assert (found.latent_dim, found.latent_dim_range) == (3, (2, 3))
    assert "Too close to the threshold to call: z2" in found.summary
    assert found.to_frame()["influential"].tolist()[:3] == ["yes", "yes", "uncertain"]


def test_spatial_latents_channel_by_channel_and_place_by_place(x):
    def spatial(batch):
        mean, log_variance = torch.zeros(len(batch), 3, 2, 2), torch.zeros(len(batch), 3, 2, 2)
        mean[:, 1] = math.sqrt(0.9) * batch[:, :4].view(-1, 2, 2)
        log_variance[:, 1] = math.log(0.1)
        mean[:, 2, 0, 1], log_variance[:, 2, 0, 1] = math.sqrt(0.5) * batch[:, 5], math.log(0.5)
        return mean, log_variance

    found = audit(spatial, x)
    assert (found.latent_shape, found.is_spatial, found.latent_dim) == ((3, 2, 2), True, 2)
    assert torch.equal(found.kept, found.maps > 0.1)
    assert found.kept.flatten().nonzero().flatten().tolist() == sorted(found.influential.tolist())
    assert found.remarks == []
    one, half = 0.5 * math.log(10), 0.5 * math.log(2)
    expected = torch.tensor([[[0, 0], [0, 0]], [[one, one], [one, one]], [[0, half], [0, 0]]], dtype=torch.float64)
    torch.testing.assert_close(found.maps, expected, atol=0.05, rtol=0)
    torch.testing.assert_close(found.by_channel, expected.sum((1, 2)), atol=0.1, rtol=0)
    torch.testing.assert_close(found.by_place, expected.sum(0), atol=0.1, rtol=0)
    frame = found.to_frame()
    assert frame["channel"].tolist() == [1, 2, 0]
    assert frame["places_above_threshold"].tolist() == [4, 1, 0]
    assert "2 of 3 channels carry more than 0.1 nats at one or more of their 2 x 2 places" in found.summary


@pytest.mark.parametrize(
    ("encode", "batches", "settings", "words"),
    [
        (encode, [], {}, "fewer than two inputs"),
        (encode, torch.zeros(1, 8), {}, "fewer than two inputs"),
        (encode, "file.npy", {}, "batches is a str"),
        (3, torch.zeros(4, 8), {}, "encode is a int"),
        (encode, torch.zeros(4, 8), {"scale": "sigma"}, "scale is 'sigma': choose one of 'log_variance'"),
        (encode, torch.zeros(4, 2), {}, r"encode failed in batch 1 of shape \(4, 2\)"),
        (lambda x: (x, x, x, x), torch.zeros(4, 8), {}, "returns a tuple of a Tensor of shape .*in which no mean"),
        (lambda x: x, torch.zeros(4, 8), {}, r"returns a code without a variance.* return output.chunk\(2, 1\)"),
        (lambda x: {"z": x}, torch.zeros(4, 8), {}, "returns a code without a variance"),
        (lambda x: (x, x, x + 9), torch.zeros(40, 8), {}, r"not \(mean, log_variance, z\) with a draw z"),
        (lambda x: (x, "y"), torch.zeros(4, 8), {}, r"returns a tuple of a Tensor of shape \(4, 8\), a str, in"),
        (lambda x: None, torch.zeros(4, 8), {}, "returns a NoneType, in which"),
        (lambda x: (x[:, 0], x[:, 0]), torch.zeros(4, 8), {}, r"shapes \(4,\) and \(4,\)"),
        (encode, torch.zeros(4, 8), {"device": "cuda:7"}, "device is 'cuda:7', which cannot be used here"),
        (lambda x: {"z": x, "y": x}, torch.zeros(4, 8), {}, "returns a dict with z, y, in which"),
        (lambda x: Laplace(x, 1 + x), torch.zeros(4, 8), {}, "returns a Laplace: only normal"),
        (lambda x: (x, x[:, :2]), torch.zeros(4, 8), {}, r"shapes \(4, 8\) and \(4, 2\)"),
        (lambda x: (x.T, x.T), torch.zeros(4, 8), {}, "8 posteriors for the 4 inputs"),
        (lambda x: (x, x * 0), torch.zeros(4, 8), {"scale": "std"}, "std of 0, .* deterministic"),
        (lambda x: (x, x + 300), torch.zeros(4, 8), {}, r"Batch 1: log_variance holds 300 .* pass log\(sigma"),
        (
            lambda x: (x[:, : 1 + int(x[0, 0])],) * 2,
            [torch.zeros(4, 8), torch.ones(4, 8)],
            {},
            r"Batch 2 has latents of shape \(2,\)",
        ),
    ],
)
def test_what_cannot_be_audited_is_refused_in_a_sentence(encode, batches, settings, words):
    with pytest.raises(AuditError, match=words):
        audit(encode, batches, **settings)


def test_progress_is_shown_unless_it_is_not_wanted(x, capsys):
    vaemi.audit(encode, x)
    assert "audit" in capsys.readouterr().err
    audit(encode, x)
    assert capsys.readouterr().err == ""


def decode(z):
    """Uses factor 0, ignores 1, and turns the noise of 4 into a change of the output."""
    return torch.stack([z[:, 0], 2 * z[:, 2], 0.5 * z[:, 4]], 1)


def test_a_decoder_shows_which_factors_change_the_output(x):
    found = audit(encode, x, decode=decode)
    assert found.effects.n_inputs == 100
    assert found.effects.effect[1] == found.effects.effect[3] == 0
    assert found.effective.tolist() == [True, False, True, False, True, False]
    assert found.criteria.used("effect").tolist() == found.effective.tolist()
    notes = "\n".join(found.notes)
    assert (
        "Above 0.1 nats, but with at most 1 % of the effect of all factors on the output: z1 (0.0 %). The dec" in notes
    )
    share = f"z4 ({100 * found.effects.share[4]:.1f} %)"
    assert (
        f"At or below 0.1 nats, but with more than 1 % of the effect of all factors on the output: {share}. " in notes
    )
    assert found.remarks == []
    assert found.notes[0] in str(found)
    assert audit(encode, x).notes == []


def test_information_and_effect_are_correlated_over_the_factors_that_have_either(x):
    # Factor 0 carries most information and has least effect, factor 2 the other way round.
    reverse = torch.tensor([0.1, 1.0, 9.0, 0.0, 0.0, 0.0])
    assert audit(encode, x, decode=lambda z: reverse * z).effect_correlation == pytest.approx(-1.0)
    # The effects of factors that the decoder ignores are equal: they share a rank.
    assert audit(encode, x, decode=lambda z: z[:, 2:3]).effect_correlation == pytest.approx(-math.sqrt(0.75))
    assert math.isnan(audit(encode, x, decode=lambda z: z[:, :1], threshold=0.9).effect_correlation)
    with pytest.raises(vaemi.AuditError, match="had no decoder"):
        _ = audit(encode, x).effective


def test_the_decoder_of_the_books_own_model_is_found(tiny_model, tiny_images):
    tiny_model.train()
    found = audit(tiny_model.encode, tiny_images, decoded_inputs=8)
    assert found.effects.n_inputs == 8
    assert tiny_model.training
    assert audit(tiny_model, tiny_images, decode=False).effects is None


def test_a_decoder_is_in_eval_mode_and_put_back(x):
    decoder = nn.Sequential(nn.Dropout(0.5), nn.Linear(H, 4))
    first, second = (audit(encode, x, decode=decoder).effects for _ in range(2))
    assert torch.equal(first.effect, second.effect)
    assert decoder.training


def test_factors_that_are_decisive_for_few_inputs_are_listed(x):
    def with_detector(x):
        mean, log_variance = encode(x)
        mean[:, 5] = 4.0 * (x[:, 7] > 2.05)
        return mean, log_variance

    found = audit(with_detector, x)
    assert found.criteria.decisive_for_few.tolist() == [5]
    assert float(x[found.criteria.rarest_input[5], 7]) > 2.05
    assert found.notes[0].startswith(
        "Decisive for few inputs, at most 0.1 nats on average but above 1 nat for some inputs: "
        f"z5 ({found.criteria.values['upper_divergence'][5]:.1f} nats, most for input "
    )
    assert not audit(encode, x).notes


def test_a_table_and_a_record_of_everything(x):
    found = audit(encode, x, decode=decode)
    frame = found.to_frame(all_criteria=True)
    assert frame["factor"].tolist() == found.information.ranking.tolist()
    assert {"nats", "kl", "kl_used", "active_units_used", "largest_divergence", "effect", "effect_stderr"} <= {*frame}
    assert len(frame.columns) == len({*frame.columns})
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["criteria"]["active_units"]["n_used"] == 3
    assert record["effects"]["informative_but_unused"] == [1]
    assert record["factors"][0]["nats"] == pytest.approx(float(found.information.nats.max()))
    maps = audit(lambda x: tuple(part[:, :, None].expand(-1, -1, 4) for part in encode(x)), x, decode=lambda z: z)
    record = json.loads(json.dumps(maps.to_dict(), allow_nan=False))
    assert record["channels"][0]["places_used_by_kl"] == 4
    assert len(maps.effects.effect) == H


def test_factors_that_repeat_each_other_are_found(x):
    def with_copy(x):
        mean, log_variance = encode(x)
        mean[:, 5], log_variance[:, 5] = mean[:, 0], log_variance[:, 0]
        return mean, log_variance

    found = audit(with_copy, x).redundancy
    (pair,) = found.repeats()
    assert {*pair[:2]} == {0, 5}
    # Correlation r of two copies of variance 1: -1/2 log(1 - r^2), with r = 1 - sigma^2.
    assert pair[2] == pytest.approx(float(-0.5 * (1 - (1 - VARIANCES[0]) ** 2).log()), abs=0.1)
    assert audit(encode, x, threshold=2.0).redundancy is None
    assert audit(with_copy, x).to_dict()["redundancy"]["pairs"][0]["share"] > 0.5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"decode": 3}, "decode is a int: pass a function of codes"),
        ({"decode": lambda z: z @ torch.ones(3, 3)}, "The decoder of encode failed for codes of shape (100, 6)"),
        ({"decode": lambda z: "picture"}, "decode returned a str"),
        ({"decode": decode, "decoded_inputs": 1}, "decoded_inputs is 1: give 2 or more"),
    ],
)
def test_a_decoder_that_cannot_be_used_is_refused_in_a_sentence(x, settings, words):
    with pytest.raises(vaemi.AuditError, match=re.escape(words)):
        audit(encode, x, **settings)


def test_posteriors_too_narrow_for_memory_are_measured_on_an_even_sample():
    sums = Sums((4,), "log_variance", named=True)
    sums.criteria = CriteriaSketch(4, max_kept_bytes=2**16)
    sums.criteria.information = vaemi.InformationSketch(4, max_bytes=2**17)
    order = torch.arange(3000.0)[:, None].expand(-1, 4)
    for part in order.split(100):
        sums.update(Answer(part, torch.full_like(part, -18.0), "log_variance"), "Batch 1")
    found = sums.audit([], 0.1, 30, 0.0, "far apart")
    kept = found.information.n_samples
    assert 700 < kept < 2000
    assert f"rests on {kept:,} of the 3,000 inputs" in found.remarks[1]
    torch.testing.assert_close(found.information.nats, torch.full((4,), math.log(kept)).double(), atol=0.01, rtol=0)
    # An input alone in its place carries the logarithm of their number, whether it was kept or not.
    assert torch.all(found.criteria.largest_divergence <= math.log(3000))
    assert torch.all(found.criteria.largest_divergence > math.log(700))
