from reactor import Id, MutationCtx, Projection, QueryCtx, mutation, query
from schema import Article


class Title(Projection):
    id: Id[Article]
    title: str


@query
async def whole(ctx: QueryCtx, section: int) -> list[str]:
    articles = await ctx.db.query(Article).with_index("by_section", section=section).collect()
    return [article.title for article in articles]


@query
async def selected(ctx: QueryCtx, section: int) -> list[str]:
    articles = await ctx.db.query(Article).with_index("by_section", section=section).select(Title).collect()
    return [article.title for article in articles]


@mutation
async def fill(ctx: MutationCtx, section: int, count: int) -> list[Id[Article]]:
    return [
        await ctx.db.insert(Article(section=section, title=f"Article {n} of {section}", body="text " * 100))
        for n in range(count)
    ]


@mutation
async def view(ctx: MutationCtx, id: Id[Article]) -> None:
    article = await ctx.db.get(id)
    if article is not None:
        await ctx.db.patch(article, views=article.views + 1)


@mutation
async def rename(ctx: MutationCtx, id: Id[Article], title: str) -> None:
    await ctx.db.patch(id, title=title)
