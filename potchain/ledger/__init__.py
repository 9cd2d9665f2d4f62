"""The ledger room: what this node has decided, in SQL, and what it has voted, in a database of its own.

`database` opens either database; `schema` and `migrate` say what is in them; `writer` makes blocks durable,
`settlement` gives the rows that are written with them, `projection` turns them into rows for people, `reader` and
`settlement_reader` answer; `votes` is the vote log; `check` and `verify` trust none of it. Everything that writes runs
on one thread; readers use connections of their own and may run on any thread.
"""
