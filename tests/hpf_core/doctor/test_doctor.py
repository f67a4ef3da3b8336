"""`hpf doctor`: right machines pass, wrong kernels are found, and the tolerances of TF32 are measured, not guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

import hpf_cli.doctor
from hpf_core.doctor import checks, choose_devices, machine
from hpf_core.doctor.checks import Check, Tolerances
from hpf_core.doctor.examine import Examination, advice, examine
from hpf_core.errors import InputError
from hpf_core.native import compiler
from hpf_core.plugins import PluginHost
from hpf_core.recipe import load

CPU = torch.device("cpu")
pytestmark = pytest.mark.timeout(900)  # half a minute of work, of which a busy machine makes minutes


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPF_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        folder, host = Path(hpf_cli.doctor.__file__).parent, PluginHost.load()
        yield load(folder / "doctor_fit.yaml", host=host), load(folder / "bench_predict.yaml", host=host)


@pytest.fixture(scope="module")
def examination(recipes):
    return Examination(*recipes)


def by_name(found: list[Check], mode: str = "float32") -> dict[str, Check]:
    return {check.what: check for check in found if check.mode == mode}


def test_this_machine_is_right(examination):
    found = list(examination.device(CPU))
    assert {check.status for check in found} == {"right", "skipped"}
    assert advice(found) == []
    terms = ["supervised", "m2d", "d2m", "multiview", "vae", "bone_length", "collision"]
    assert {f"term {name}: {what}" for name in terms for what in ("value", "gradient")} < by_name(found).keys()
    for mode in ("float32", "bf16"):
        assert {"training step: gradient", "prediction: points"} < by_name(found, mode).keys()
    skipped = [check for check in found if check.status == "skipped"]
    assert [check.what for check in skipped] == ["training step", "prediction"]
    assert all("--compile" in check.detail for check in skipped)
    # No tolerance is so wide that it says nothing: float32 is far within.
    assert all(check.difference <= check.tolerance / 5 for check in by_name(found).values())


def wrong_depth(examination, patch, change) -> dict[str, Check]:
    """What is found where the kernel of `depth_forward` computes something else."""
    true_call = compiler.call

    def call(function, rows, *arguments):
        true_call(function, rows, *arguments)
        if function.__name__ == "depth_forward":
            change(arguments[-4])

    patch.setattr(compiler, "call", call)
    return by_name(list(examination.device(CPU)))


def test_a_wrong_kernel_is_found(examination, monkeypatch):
    found = wrong_depth(examination, monkeypatch, lambda depth: depth.add_(0.05))
    assert found["renderer: depth"].status == "wrong"
    assert found["renderer: depth"].difference == pytest.approx(0.05, rel=0.01)
    for unaffected in ("distance: distance", "term d2m: value", "prediction: points", "renderer: silhouette"):
        assert found[unaffected].status == "right"
    said = " ".join(advice(list(found.values())))
    assert "cpu: don't trust results of renderer: depth (float32)" in said
    assert "HPF_KERNELS=off" in said


def test_a_kernel_of_nans_is_found(examination, monkeypatch):
    found = wrong_depth(examination, monkeypatch, lambda depth: depth.fill_(torch.nan))
    for affected in ("renderer: depth", "term m2d: value", "training step: terms"):
        assert found[affected].status == "wrong"


def test_a_kernel_that_raises_is_named(examination, monkeypatch):
    def call(function, rows, *arguments):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(compiler, "call", call)
    found = by_name(list(examination.device(CPU)))
    assert found["renderer"].status == "failed"
    assert "no kernel image is available" in found["renderer"].detail
    assert found["prediction: points"].status == "right"


def test_the_kernels_can_be_switched_off(examination, monkeypatch):
    monkeypatch.setenv("HPF_KERNELS", "off")
    monkeypatch.setattr(compiler, "call", lambda *_: pytest.fail("no kernel is called"))
    assert not advice(list(examination.device(CPU)))
    assert set(compiler.states().values()) == {"HPF_KERNELS=off"}


def rounded(tensor: torch.Tensor, bits: int) -> torch.Tensor:
    """float32 with that many bits of mantissa, to the nearest."""
    drop = 23 - bits
    whole = tensor.detach().contiguous().view(torch.int32)
    return (((whole + (1 << (drop - 1))) >> drop) << drop).view(torch.float32)


class Rounded(torch.autograd.Function):
    """A convolution whose operands are rounded, forward and backward, as tensor cores do it."""

    @staticmethod
    def forward(ctx, x, weight, bits, stride, padding):
        ctx.bits, ctx.stride, ctx.padding = bits, stride, padding
        ctx.save_for_backward(x, weight)
        return torch.conv2d(rounded(x, bits), rounded(weight, bits), None, stride, padding)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = (rounded(t, ctx.bits) for t in ctx.saved_tensors)
        gradient = rounded(gradient, ctx.bits)
        return (
            torch.nn.grad.conv2d_input(x.shape, weight, gradient, ctx.stride, ctx.padding),
            torch.nn.grad.conv2d_weight(x, weight.shape, gradient, ctx.stride, ctx.padding),
            None, None, None,
        )  # fmt: skip


def test_the_tolerance_of_tf32_is_what_its_rounding_needs(examination, monkeypatch):
    """Without a GPU: convolutions with operands rounded to 10 bits, as TF32 has them."""

    def forward(self, x):
        out = Rounded.apply(x, self.weight, 10, self.stride, self.padding)
        return out if self.bias is None else out + self.bias[:, None, None]

    def only_float32(self, x):
        if x.dtype == torch.float32:
            return forward(self, x)
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", only_float32)
    found, allowed = by_name(list(examination.device(CPU))), Tolerances().of("tf32")
    seen = {
        "points_mm": found["prediction: points"].difference,
        "value": found["training step: terms"].difference,
        "weights": found["training step: gradient"].difference,
    }
    print(seen)
    for name, difference in seen.items():
        limit = getattr(allowed, name)
        assert limit / 30 < difference < limit / 2, (name, difference)
    # float32 without TF32 has other tolerances: such a network isn't called right.
    assert found["prediction: points"].status == found["training step: gradient"].status == "wrong"


def test_the_factor_is_on_all_tolerances(recipes):
    found = examine(*recipes, [CPU], factor=1e-4)
    plain = by_name(found)
    assert all(check.tolerance == pytest.approx(1e-4 * limit) for check, limit in (
        (plain["renderer: depth"], Tolerances().depth_mm), (plain["prediction: points"], Tolerances().points_mm)
    ))  # fmt: skip
    assert plain["renderer: depth"].status == plain["prediction: points"].status == "wrong"


def test_devices():
    assert choose_devices("all")[0] == CPU
    assert choose_devices("cpu") == [CPU]
    for wrong in ("", "gpu", "cuda:99"):
        with pytest.raises(InputError):
            choose_devices(wrong)


def test_advice_fits_what_is_wrong():
    def wrong(device, mode, detail=""):
        return Check(device, "training step", mode, "failed" if detail else "wrong", 1.0, 0.1, detail=detail)

    assert advice([Check("cpu", "a", "float32", "right")]) == []
    assert "runtime.precision=float32" in " ".join(advice([wrong("cuda:0", "bf16")]))
    assert "runtime.compile=false" in " ".join(advice([wrong("cuda:0", "compile")]))
    assert "NVIDIA_TF32_OVERRIDE=0" in " ".join(advice([wrong("cuda:0", "tf32")]))
    assert "--device cpu" in " ".join(advice([wrong("cuda:0", "float32")]))
    assert "memory is full" in " ".join(advice([wrong("cuda:0", "float32", "CUDA out of memory")]))
    assert "hpf doctor --json" in advice([wrong("cuda:0", "float32")])[-1]


# ---------------------------------------------------------------------------------------------------------- the machine


def test_what_the_machine_has(tmp_path, monkeypatch):
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "new" / "cache"))
    about = machine.describe(PluginHost.load())
    json.dumps(about, allow_nan=False)
    assert about["versions"]["torch"] == torch.__version__
    assert about["versions"]["python"].startswith("3.")
    assert about["folders"]["cache"]["path"] == str(tmp_path / "new" / "cache")
    assert about["folders"]["cache"]["free_bytes"] > 0
    assert {"spheres.c", "m2d.c", "fit.c"} <= about["compiler"]["kernels"].keys()


def test_notes_say_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(machine, "driver", lambda: "570.12")
    monkeypatch.setattr(compiler, "states", lambda: {"spheres.c": "HPF found no C compiler (cc, gcc, clang)"})
    about = machine.describe(PluginHost.load())
    said = "\n".join(about["notes"])
    assert "Install gcc or clang" in said
    assert f"the cache folder {tmp_path / 'file' / 'cache'} can't be written" in said
    if not torch.cuda.is_available():
        assert "an NVIDIA driver (570.12) is installed, but this PyTorch sees no GPU" in said


def test_the_command(tmp_path, monkeypatch, recipes):
    """As one JSON document, with exit code 1 where something is wrong."""
    from hpf_cli.main import app

    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path))
    right = Check("cpu", "renderer: depth", "float32", "right", 1e-6, 1e-3, "mm")
    wrong = Check("cpu", "distance: distance", "float32", "wrong", 1.0, 1e-3, "mm")
    for found, code in (([right], 0), ([right, wrong], 1)):
        monkeypatch.setattr("hpf_core.doctor.examine", lambda *_, found=found: found)
        done = CliRunner().invoke(app, ["doctor", "--device", "cpu", "--json"])
        assert done.exit_code == code
        document = json.loads(done.stdout)
        assert document["right"] is (code == 0)
        assert len(document["checks"]) == len(found)
        assert bool(document["what_to_do"]) is (code == 1)
        shown = CliRunner().invoke(app, ["doctor", "--device", "cpu"])
        assert shown.exit_code == code
        assert "distance: distance" in shown.stdout or code == 0
        assert f"cpu: 1 right{', 1 wrong' if code else ''}" in shown.stdout


def test_tf32_is_put_back():
    before = torch.backends.cudnn.allow_tf32
    with checks.network_mode("float32"):
        assert not torch.backends.cudnn.allow_tf32
    with checks.network_mode("tf32"):
        assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_bug_reports_ask_for_its_output():
    from ruamel.yaml import YAML

    template = Path(__file__).parents[3] / ".github" / "ISSUE_TEMPLATE" / "bug.yml"
    fields = {part["id"]: part for part in YAML(typ="safe").load(template)["body"]}
    assert "hpf doctor --json" in fields["doctor"]["attributes"]["label"]
    assert fields["doctor"]["validations"]["required"] is True
