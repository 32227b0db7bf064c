"""Work of a run on other machines, through Ray (extra `ray`), which nothing outside imports before it is used."""
