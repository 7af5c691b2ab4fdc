"""The one command, `boxwright`, and its subcommands. Each imports what it needs when it runs, so that help is quick."""
