"""Our own tables, written through transactions like anyone's: scheduled functions, crons, files, environment."""
