"""``netlink-safe completion``: what makes a shell complete the command.

May call ``cli.main``.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from netlink_safe.cli.main import ASKED_BY


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete this command.

    \b
    bash   eval "$(netlink-safe completion bash)"
    zsh    eval "$(netlink-safe completion zsh)"
    fish   netlink-safe completion fish | source
    """
    program = context.find_root()
    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101  # click has all three
    click.echo(completion(program.command, {}, str(program.info_name), ASKED_BY).source())
