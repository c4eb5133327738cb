"""The `fusionrec` command: options, commands, and how a failure is told."""

from __future__ import annotations

import click

from shared.cli.console import EXIT_FAILED, say
from shared.cli.demo.command import demo
from shared.cli.evaluate import evaluate
from shared.cli.explain_text import explain_text
from shared.cli.finetune import finetune
from shared.cli.import_ import import_
from shared.cli.recommend import recommend
from shared.cli.rollback import rollback
from shared.cli.stats import stats
from shared.cli.train import train
from shared.cli.up import up
from shared.errors import FusionrecError

EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Fusionrec: run the services, bring in data, train, ask, measure."""


for _command in (up, import_, train, finetune, rollback, recommend, explain_text, evaluate, stats, demo):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 3 some rows were rejected."""
    try:
        code = cli.main(args=arguments, prog_name="fusionrec", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        say(f"error: {error.format_message()}")
        return error.exit_code
    except FusionrecError as error:
        say(f"error: {error.message}")
        return EXIT_FAILED
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0
