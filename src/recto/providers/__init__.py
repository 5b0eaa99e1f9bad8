"""Outside: clients of other people's servers. They translate their own failures; nothing of ``requests`` leaves."""
