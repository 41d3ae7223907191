"""Where the work of a command is done: in this process, in local processes, or on the nodes of a Ray cluster."""
