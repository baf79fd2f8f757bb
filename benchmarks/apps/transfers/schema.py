from reactor import Document, define_schema, define_table


class Account(Document):
    number: int
    balance: int


schema = define_schema(accounts=define_table(Account).index("by_number", "number"))
