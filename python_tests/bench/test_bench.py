"""The benchmarks: their inputs, their plain-torch twin, and that a run reports what happened."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from dfast import reference
from dfast.bench import counts, machine, peers, plain, report, runner, scenes, step, timing, trace
from dfast.bench.case import DFAST, EAGER, GATHERED, REFERENCE, UNTOUCHED, Case, Work
from dfast.bench.suite import LETTERS, cases, parse_letters
from dfast.cli.main import main
from dfast.errors import ConfigError
from dfast.nn.field import Field
from dfast.ops.grid_spec import GridSpec
from dfast.scene.scene import build_field

CPU = torch.device("cpu")


@pytest.mark.usefixtures("needs_native")
def test_marching_keeps_the_samples_of_the_workload() -> None:
    """110 308 samples on 711 rays are the published counts; a sample on a cell's face may fall
    either way in float32."""
    samples = scenes.samples(64, CPU)
    assert abs(int(samples.num_samples) - 110_308) <= 5
    assert int((samples.offsets.diff() > 0).sum()) == 711


def test_the_grid_is_the_one_of_the_workload() -> None:
    assert scenes.GRID.entries * scenes.GRID.features == 12_203_840
    assert step.FIELD.grid.levels == scenes.GRID.levels == 16


def test_points_along_rays_lie_on_them_and_in_the_cube() -> None:
    x = scenes.points(2 * 4096, CPU, "rays")
    assert x.shape == (8192, 3) and float(x.min()) >= 0 and float(x.max()) <= 1
    v = scenes.view(64, CPU)
    middle = 64 * 32 + 32  # a ray through the middle of the picture
    offset = 2.0 * x.view(4096, 2, 3)[middle] - 1.0 - v.origins[middle]
    off = torch.linalg.cross(offset, v.directions[middle].expand_as(offset))
    assert float(off.norm(dim=-1).max()) < 1e-5
    with pytest.raises(ValueError, match="multiple of 4096 along rays, got 100"):
        scenes.points(100, CPU, "rays")


def test_inputs_are_the_same_each_time() -> None:
    assert torch.equal(scenes.points(64, CPU), scenes.points(64, CPU))
    assert torch.equal(scenes.normal(CPU, 8, seed=3), scenes.normal(CPU, 8, seed=3))


def test_gathered_encoding_is_the_reference() -> None:
    spec = GridSpec(5, 2, 9, 4, 64, "linear")
    assert any(spec.dense) and not all(spec.dense)
    x, table = scenes.uniform(CPU, 300, 3), scenes.normal(CPU, spec.entries, 2)
    x[0], x[1] = 0.0, 1.0
    table.requires_grad_()
    a = scenes.normal(CPU, 300, spec.outputs, seed=1)
    got, expected = plain.encode(x, table, spec), reference.hash_encode(x, table, spec)
    torch.testing.assert_close(got, expected)
    d_got, d_expected = (torch.autograd.grad(e, table, a)[0] for e in (got, expected))
    torch.testing.assert_close(d_got, d_expected)


@pytest.mark.usefixtures("needs_native")
def test_plain_fields_agree_with_the_field_to_second_order() -> None:
    """What is timed against each other computes the same."""
    config = step.FIELD.__class__(
        **{**vars(step.FIELD), "grid": step.FIELD.grid.__class__(4, 2, 9, 4, 32, "linear")}
    )
    field = build_field(config, scenes.generator())
    with torch.no_grad():
        field.table.mul_(3e3)  # values that matter
    x = 1.6 * scenes.uniform(CPU, 200, 3) - 0.8
    gradients = [scenes.normal(CPU, *shape) for shape in ((200,), (200, 3), (200, 3))]

    def results(net: Field | plain.PlainField) -> list[Tensor]:
        values = list(net(x, want_gradient=True))
        return [*values, *torch.autograd.grad(values, list(net.parameters()), gradients)]

    expected = results(field)
    with torch.no_grad():  # as the benchmark of value and normal asks
        bare = [plain.PlainField(field, gathered=g)(x, want_gradient=True) for g in (False, True)]
    for values in bare:
        assert all(v is not None for v in values)
        torch.testing.assert_close(values.gradient, expected[2].detach(), rtol=1e-3, atol=1e-3)
    for gathered in (False, True):
        got = results(plain.PlainField(field, gathered=gathered))
        for mine, theirs in zip(expected, got, strict=True):
            error = (mine - theirs).detach().norm() / theirs.detach().norm()
            assert float(error) < 1e-4


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize("look", list(step.SHADING_MODES))
def test_plain_step_has_the_gradients_of_dfasts(look: str) -> None:
    """Positions differ by an ulp, 1e-7, hence finest encodings by 1e-4 of themselves: in one sample
    of a hundred one of 128 ReLUs flips and changes its gradient by a third, 3 % in the norm."""
    mine = step.render_step(look, 8, CPU).run()
    theirs = step.plain_step(look, 8, CPU, gathered=True).run()
    assert isinstance(mine, tuple) and isinstance(theirs, tuple)
    for a, b in zip(mine, theirs, strict=True):
        assert float(b.norm()) > 0
        assert float((a - b).norm() / b.norm()) < 6e-2


def test_counts() -> None:
    assert counts.mlp_flops(32, 64, 2) == 12_800
    one = GridSpec(1, 2, 4, 2, 2)
    assert counts.encode(1, one) == (3 * 4 + 2 * 4 + 16 * 2, 32)
    assert counts.adam(10).bytes == 340
    both = counts.Cost(1, 2) + counts.Cost(3, 4)
    assert both == (4, 6)
    sizes = {"points": 100, "grid": scenes.GRID, "width": 64, "layers": 2}
    value = counts.field(**sizes, normal=False, backward=False)
    second = counts.field(**sizes, normal=True, backward=True)
    assert second.flops > 5 * value.flops and second.bytes > value.bytes


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("quick", [False, True])
def test_every_workload_has_dfast_and_each_case_once(device: str, quick: bool) -> None:
    made = cases(device, quick=quick)
    names = [(case.workload, case.variant) for case in made]
    assert len(set(names)) == len(names)
    expected = set(LETTERS) - (set() if device == "cuda" or quick else {"F"})
    assert {case.letter for case in made} == expected
    own = {w for w, v in names if v == DFAST}
    assert own == {w for w, _ in names}
    recorded = {DFAST, UNTOUCHED} if device == "cuda" else set()
    assert all(case.captured == (case.variant in recorded) for case in made)
    assert (EAGER in {v for _, v in names}) == (device == "cuda")
    assert {case.letter for case in cases(device, "BD", quick=quick)} == {"B", "D"}


def test_sizes_of_the_published_workloads() -> None:
    names = {case.workload for case in cases("cuda")}
    for size in (64, 256, 512):
        assert {f"B-march-{size}", f"C-composite-{size}", f"E-lambertian-{size}"} <= names
    assert {"A-forward-rays-1m", "D-normal-backward-256k", "E-adam"} <= names
    assert "E-lambertian-64" in {case.workload for case in cases("cpu")}


@pytest.mark.parametrize(("text", "letters"), [(None, "ABCDEF"), ("e, a", "AE"), ("B", "B")])
def test_letters(text: str | None, letters: str) -> None:
    assert parse_letters(text) == letters


@pytest.mark.parametrize("text", ["G", "AB", "", ","])
def test_letters_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--workloads: expected letters of A, B, C, D, E, F"):
        parse_letters(text)


@pytest.mark.usefixtures("needs_native")
def test_tuned_networks_do_the_same_work() -> None:
    results: dict[str, list[Tensor]] = {}
    for case in cases("cpu", "F", quick=True):
        work = case.build(CPU)
        result = work.run()
        assert isinstance(result, Tensor) and work.cost.flops > 1_000_000
        results.setdefault(case.workload, []).append(result)
    assert len(results) == 3
    for mine, theirs in results.values():
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-4


def _work(run: object = lambda: None) -> Work:
    return Work(run, counts.Cost(2_000_000, 3_000_000), {"points": 7})  # type: ignore[arg-type]


def _fail() -> None:
    raise RuntimeError("out of luck\nwith details")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of three cases, the second of which fails, without the ceilings' seconds."""
    made = [
        Case("A-x-1k", DFAST, lambda device: _work()),
        Case("A-x-1k", GATHERED, lambda device: _work(_fail)),
        Case("A-x-1k", REFERENCE, lambda device: _work()),
    ]
    monkeypatch.setattr(runner, "cases", lambda *_, **__: made)
    best = {"float32_tflop_s": 1.0, "copy_gb_s": 10.0}
    monkeypatch.setattr(machine, "ceilings", lambda device: best)


@pytest.mark.usefixtures("three")
def test_a_failing_case_leaves_its_message_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "new" / "x.json"
    records = runner.run(CPU, quick=True, out=path, profile=tmp_path / "traces", say=said.append)
    assert json.loads(path.read_text()) == records
    assert [r.get("error") for r in records] == [None, "RuntimeError: out of luck", None]
    for key in ("wall_ms", "gpu_ms", "captured_ms", "peak_mib", "launches", "syncs", "gpu"):
        assert key in records[0]
    for key in ("ceilings", "driver", "torch", "date", "commit", "processor", "threads"):
        assert records[0][key] is not None or key == "driver"
    assert (
        records[0]["points"] == 7
        and records[0]["gb_s"] > 0
        and records[0]["floor_ms"] == 0.2
        and records[0]["gpu"] is None
    )
    assert any("failed: RuntimeError: out of luck" in line for line in said)
    assert (tmp_path / "traces" / "A-x-1k-dfast.json").exists()
    assert any("not installed" in line for line in said) == bool(peers.missing())


def test_slow_cases_are_run_less_often() -> None:
    assert timing._runs(1e-9, 1.0) == timing.RUNS
    assert timing._runs(0.1, 1.0) == 10
    assert timing._runs(10.0, 1.0) == 3


def test_rates_are_of_the_time_that_counts() -> None:
    record = {"wall_ms": 4.0, "gpu_ms": 3.0, "captured_ms": 2.0, "bytes": 2_000_000, "flops": 10**9}
    assert report.rates(record) == (1.0, 0.5)
    assert report.rates({**record, "captured_ms": None, "gpu_ms": None}) == (0.5, 0.25)
    assert report.rates({"error": "x"}) is None
    best = {"float16_tflop_s": 10.0, "bfloat16_tflop_s": 20.0, "copy_gb_s": 1.0}
    assert report.floor_ms({**record, "ceilings": best}) == 2.0  # bytes; operations take 0.05
    assert report.floor_ms({**record, "ceilings": {**best, "copy_gb_s": 1e3}}) == 0.05


def test_table() -> None:
    best = {"ceilings": {"float16_tflop_s": 10.0, "copy_gb_s": 100.0}}
    records = [
        {"workload": "E-x-64", "variant": DFAST, "captured_ms": 0.5, "wall_ms": 0.6,
         "launches": 12, "syncs": 0, "peak_mib": 3.4, "gb_s": 50.0, "tflop_s": 1.0, **best},
        {"workload": "E-x-64", "variant": EAGER, "wall_ms": 0.8},
        {"workload": "E-x-64", "variant": REFERENCE, "wall_ms": 50.0},
        {"workload": "E-x-64", "variant": GATHERED, "wall_ms": 5.0},
        {"workload": "E-x-64", "variant": "nerfacc", "wall_ms": 7.0, "gpu_ms": 2.0},
        {"workload": "E-y-64", "variant": DFAST, "error": "RuntimeError: no"},
    ]  # fmt: skip
    text = report.table(records)
    row = next(line for line in text.splitlines() if line.startswith("  E-x-64"))
    assert row.split() == [
        "E-x-64", "0.5", "0.8", "5", "50", "10.0x", "50", "(50%)", "1", "(10%)", "12", "3",
    ]  # fmt: skip
    assert "E-x-64  nerfacc: 7 ms, on the device 2 ms" in text
    assert "E-y-64, dfast: failed: RuntimeError: no" in text


def test_stages_are_in_the_trace(tmp_path: Path) -> None:
    def call() -> None:
        with trace.stage("render"):
            torch.ones(3) + 1

    trace.write(call, tmp_path / "t.json", calls=2)
    names = [e.get("name") for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"]]
    assert names.count("render") == 2 and "call 1" in names and "aten::add" in names


def test_launches_and_waits_of_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The profiler's own waits are not the call's; names of other categories do not count."""
    wait = {"name": "cudaDeviceSynchronize", "cat": "cuda_runtime"}
    launched = [
        {"name": "march", "cat": "kernel", "dur": 2.0},
        {"name": "Memset (Device)", "cat": "gpu_memset", "dur": 1.5},
        {"name": "cudaLaunchKernel", "cat": "cuda_runtime", "dur": 9.0},
        {"name": "cudaStreamSynchronize", "cat": "cuda_runtime", "dur": 9.0},
    ]
    seen = {"nothing": [wait, wait], "call": [*launched, wait, wait]}
    monkeypatch.setattr(trace, "_events", lambda call: seen["call" if call is print else "nothing"])
    trace.own_waits.cache_clear()
    assert trace.count(print) == (2, 1, 0.0035)
    assert trace.count(str) is None
    trace.own_waits.cache_clear()


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_launches_and_waits_are_counted() -> None:
    x = torch.ones(64, device="cuda")
    quiet, waiting = trace.count(lambda: x.add_(1)), trace.count(lambda: x.add_(1).sum().item())
    if quiet is None or waiting is None:
        pytest.skip("the profiler sees nothing here")
    assert (quiet.launches, quiet.syncs) == (1, 0) and quiet.gpu_ms > 0
    assert waiting.launches >= 3 and waiting.syncs >= 1


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_a_captured_case_replays() -> None:
    x = torch.zeros(1, device="cuda")
    case = Case("A-x", DFAST, lambda device: _work(lambda: x.add_(1)), captured=True)
    cuda = torch.device("cuda")
    call, _, _ = timing.prepare(case, case.build(cuda), cuda)
    before = float(x)
    call()
    assert float(x) == before + 1
    found = timing.measure(case, cuda, 0.05)
    assert found["captured_ms"] > 0 and found["wall_ms"] > 0 and found["peak_mib"] >= 0


def test_the_command_complains_at_the_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    wrong = {
        "--workloads: expected letters": ["--workloads", "Z"],
        "device: expected cpu, cuda": ["--device", "tpu"],
        "--out: expected a file": ["--out", str(tmp_path)],
        "--profile: expected a folder": ["--profile", str(file)],
    }
    for message, options in wrong.items():
        assert main(["bench", *options]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("needs_native", "three")
def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(["bench", "--device", "cpu", "--quick", "--out", str(tmp_path / "x.json")])
    out, err = capsys.readouterr()
    assert code == 0  # what failed is not dfast's
    assert "A-x-1k" in out and "at best here: float32 TFLOP/s 1" in out and "[3/3]" in err
    assert len(json.loads((tmp_path / "x.json").read_text())) == 3


@pytest.mark.usefixtures("needs_native", "three")
def test_the_command_fails_when_dfast_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = [Case("A-x-1k", DFAST, lambda device: _work(_fail))]
    monkeypatch.setattr(runner, "cases", lambda *_, **__: failing)
    assert main(["bench", "--device", "cpu", "--quick"]) == 1
    assert "A-x-1k, dfast: failed" in capsys.readouterr().out


def test_the_comparison_is_drawn(tmp_path: Path) -> None:
    root = Path(__file__).parents[2] / "benchmarks"
    if not root.exists():
        pytest.skip("benchmarks/ is not beside the tests")
    spec = importlib.util.spec_from_file_location("draw", root / "draw.py")
    assert spec is not None and spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    about = {"gpu": "X", "torch": "2", "date": "2026-01-01", "commit": "abc"}
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps([
        {"workload": "E-lambertian-64", "variant": "dfast", "wall_ms": 0.4,
         "captured_ms": 0.3, **about},
        {"workload": "E-lambertian-64", "variant": "dfast", "error": "x", **about},
    ]))  # fmt: skip
    others = root / "results" / "peers-nvidia-h200.json"
    records = json.loads(mine.read_text()) + json.loads(others.read_text())
    groups = dict(draw.rows(records))
    assert groups["E-lambertian-64"][:2] == [("dfast", 0.4), ("nerfacc + tcnn", 7.834)]
    assert ("torch-ngp (wall)", 0.402) in groups["B-march-64"]
    draw.main([str(mine), str(others), "--out", str(tmp_path / "c.png")])
    with Image.open(tmp_path / "c.png") as image:
        colors = {color for _, color in image.getcolors(maxcolors=1 << 20)}
    assert {draw.OURS, draw.PEER} <= colors
