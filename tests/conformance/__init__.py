"""One set of test bodies that every broker passes, embedded and real: together they define the port.

A body asks for what it needs by ability, never by a broker's name::

    @conformance("returns")
    async def test_R7_an_unroutable_message_is_returned(subject: Subject, work: Work) -> None: ...

It runs once per subject that has the abilities. Add a subject in `subjects.py`: its abilities, its connector, and how a
place of work (a queue or its like, with somewhere for its dead letters) is made on it.
"""
