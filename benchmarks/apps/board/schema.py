from reactor import Document, define_schema, define_table


class Note(Document):
    board: int
    text: str


schema = define_schema(notes=define_table(Note).index("by_board", "board"))
