"""Only `featlab capture -- script` needs this: an unmodified script is run and watched."""
