from reactor import MutationCtx, mutation


@mutation
async def delete(ctx: MutationCtx, why: str) -> bool:
    return bool(why)
