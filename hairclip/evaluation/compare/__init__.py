"""Compare editing methods: the same people and requests for all, one table, and a blind study."""
