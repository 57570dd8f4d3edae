"""The command `chatbatch`: its subcommands by name, loaded only when they are called.

`--help` must cost nothing, so no module here imports httpx, pyarrow or aiohttp before a command needs them.
Errors end here: one sentence on stderr and an exit code; a traceback only with -vv.
"""

from __future__ import annotations

import os
import re
import sys
import traceback

import click

from batch import __version__
from batch.cli.lazy import LazyGroup
from batch.errors import ChatbatchError, ExitCode

# What a shell reports of a program that SIGPIPE ended.
BROKEN_PIPE = 141
_COMMANDS = {
    "run": "Answer the rows of a file; the same command again continues.",
    "job": "Run, list, check and schedule the jobs of job files.",
    "check": "Read every row and say what is wrong with which.",
    "estimate": "Say what the rows would take: tokens, money, hours.",
    "prices": "Show the price list in force, with its dates and sources.",
    "status": "Say how a run is doing, or how the last one ended.",
    "export": "Write the output again from the journal, at no cost.",
    "report": "Say what a job came to; with --html as a page with charts.",
    "doctor": "Check journal, input and output against each other.",
    "cancel": "Cancel open operations, and record what the service says.",
    "send": "Post one request body and print the service's answer.",
    "auth": "Look at credentials: which are found, and whether they work.",
    "emulator": "Serve a local emulator of the API.",
}


@click.group(
    cls=LazyGroup,
    table=_COMMANDS,
    prefix="batch.cli.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="chatbatch")
def chatbatch() -> None:
    """Run a file of chat conversations through the YandexGPT completion API.

    \b
    Try it without an account:
      chatbatch run sample_data/support.jsonl -o answers.parquet --emulate
    """


def run_command_line(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    verbose = _verbosity(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(chatbatch.main(args=arguments, standalone_mode=False) or 0)
    except click.exceptions.Exit as ended:
        return int(ended.exit_code)
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except (KeyboardInterrupt, click.Abort):
        return _said("Interrupted; what was committed is safe.", ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as in `chatbatch … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except ChatbatchError as error:
        if verbose > 1:
            traceback.print_exc()
        return _said(f"Error: {error}" + (f"\n       {error.hint}" if error.hint else ""), error.exit_code)
    except Exception as error:
        if verbose > 1:
            traceback.print_exc()
        name = type(error).__name__
        return _said(
            f"Error: unexpected {name}; what was committed is safe. Run again with -vv for the traceback.",
            ExitCode.UNEXPECTED,
        )


def _verbosity(arguments: list[str]) -> int:
    """Return how often -v was given, in any spelling; errors may come before the flags are understood."""
    asked = sum(word.count("v") for word in arguments if re.fullmatch(r"-v+", word))
    asked += arguments.count("--verbose")
    told = os.environ.get("CHATBATCH_VERBOSE", "")
    return asked or (int(told) if told.isdigit() else 0)


def _said(sentence: str, code: ExitCode) -> int:
    from batch.plaintext import printable

    for line in sentence.split("\n"):
        click.echo(printable(line), err=True)
    return int(code)
