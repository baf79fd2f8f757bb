from reactor import Document, define_schema, define_table


class Article(Document):
    section: int
    title: str
    body: str
    views: int = 0


schema = define_schema(articles=define_table(Article).index("by_section", "section"))
