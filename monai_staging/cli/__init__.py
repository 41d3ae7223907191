"""The ``monai-staging`` command; one module per subcommand."""
