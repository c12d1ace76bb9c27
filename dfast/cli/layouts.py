"""`dfast train --layout FILE` and `--parts`: several things in a scene."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from dfast.cli.checks import check_prompt
from dfast.cli.options import UsageError, prior_name, read_file
from dfast.config import Config, Layout
from dfast.runs.layouts import check_layout, prompt_of
from dfast.runs.notices import notice


def add_layout(parser: ArgumentParser) -> None:
    """Add --layout and --parts.

    Args:
        parser: the parser of `dfast train`.
    """
    parser.add_argument(
        "--layout", metavar="FILE", help="make several things in a scene: docs/layouts.md"
    )
    parser.add_argument(
        "--parts", action="store_true",
        help='make each thing of a sentence such as "a red chair next to a blue table" on its own',
    )  # fmt: skip


def lay_out(options: Namespace) -> None:
    """Read the layout that the options ask for; the prompt becomes its own.

    The prompt of a layout in the file of --config is taken where no other is given.

    Args:
        options: of `dfast train`.

    Raises:
        ConfigError: a layout that cannot be used, or options that do not go with one.
        PromptError: a sentence of other than two things.
    """
    if options.layout is None and not options.parts:
        if options.prompt is None and options.prompts is None and not options.resume:
            options.prompt = prompt_of(read_file(options))
        return
    option = "--parts" if options.layout is None else "--layout"
    for name, given in (
        ("a prompt", option == "--layout" and options.prompt is not None),
        ("--parts", option == "--layout" and options.parts),
        ("--prompts", options.prompts is not None),
        ("--particles", options.particles is not None),
        ("--best-of", options.best_of != 1),
        ("--refine", options.refine),
    ):
        if given:
            raise UsageError(f"{option}: expected without {name}")
    if option == "--layout":
        layout = Layout.load(options.layout)
    elif options.prompt is None:
        raise UsageError("--parts: expected a sentence of two things, got none")
    else:
        layout = _of_sentence(options)
    options.prompt, options.layout_table = layout.prompt, layout.to_dict()


def _of_sentence(options: Namespace) -> Layout:
    """Return the layout of the sentence, and say what becomes of the whole."""
    from dfast.runs.splitting import layout_of

    layout = layout_of(options.prompt, prior=prior_name(options))
    if layout.whole == 0.0:
        notice(f'the prior does not know "{layout.prompt}" as one: its parts are trained alone')
    return layout


def check_asked(options: Namespace, config: Config) -> None:
    """Raise PromptError for a prompt that is empty, or that the embedded prior does not know.

    Args:
        options: of `dfast train`.
        config: about what they configure.
    """
    if config.layout.parts:
        check_layout(config.layout, options.prompt, embedded=prior_name(options) == "shapes")
    else:
        check_prompt(options.prompt, prior_name(options))
