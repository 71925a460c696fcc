"""`ltmed export`: a trained network as one file for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from ltmed.errors import UserError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "form", metavar="onnx|torchscript|torch", help="What to write.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The file; in RUN, named model, if absent.")
@click.option("--trust", is_flag=True, help="Also build classes that are not part of ltmed: runs their author's code.")
def command(run: Path, form: str | None, output: Path | None, trust: bool) -> None:
    """Writes the network of the finished run in the folder RUN, with its normalisation, softmax and class names.

    Input: RGB in [0, 1], float32 [batch, 3, size, size]; output: probabilities. The file is kept only if it agrees with
    the network on random images.
    """
    if form is None:
        raise UserError("--format is missing", "Choose --format=onnx, torchscript or torch.")
    from ltmed.inference.restore import finished_run

    finished_run(run)  # Reports mistakes before the slow import of torch.
    from ltmed.inference.export import export

    file, difference = export(run, form, output, trust=trust)
    click.echo(f"{file}: {file.stat().st_size / 2**20:.1f} MiB, at most {difference:.1g} from the network")
