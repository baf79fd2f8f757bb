from reactor import Document, define_schema, define_table


class Tick(Document):
    number: int


class Result(Document):
    number: int


schema = define_schema(ticks=define_table(Tick), results=define_table(Result))
