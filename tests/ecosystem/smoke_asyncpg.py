"""asyncpg against a real server: a pool, transactions, COPY, cursors, LISTEN, a query that is cancelled."""

import asyncio
import io

import asyncpg
import services
import stage

ROWS = [(number, f"text {number}" * 10) for number in range(20_000)]


async def main(port, folder):
    for host in (stage.LOCALHOST, folder):  # TCP, and a Unix socket
        async with asyncpg.create_pool(
            host=host, port=port, user="postgres", database="postgres", min_size=2, max_size=8
        ) as pool:
            await together(pool)
            async with pool.acquire() as connection:
                await rows(connection)
                await rollback(connection)
                await cancel(connection)
            await listen(pool)


async def together(pool):
    values = await asyncio.gather(*(pool.fetchval("select $1::int * 2", number) for number in range(200)))
    assert values == [number * 2 for number in range(200)]


async def rows(connection):
    await connection.execute("create temporary table t (number int, words text)")
    await connection.copy_records_to_table("t", records=ROWS)
    assert [tuple(row) for row in await connection.fetch("select * from t order by number")] == ROWS
    output = io.BytesIO()
    await connection.copy_from_table("t", output=output, format="csv")
    assert output.getvalue().count(b"\n") == len(ROWS)
    async with connection.transaction():
        cursor = connection.cursor("select number from t order by number", prefetch=500)
        assert [row["number"] async for row in cursor] == [number for number, _ in ROWS]


async def rollback(connection):
    try:
        async with connection.transaction():
            await connection.execute("delete from t")
            raise KeyError
    except KeyError:
        assert await connection.fetchval("select count(*) from t") == len(ROWS)


async def cancel(connection):
    try:
        await connection.fetch("select pg_sleep(60)", timeout=0.05)
    except TimeoutError:
        assert await connection.fetchval("select 1") == 1  # the server was told, and is ready again
        return
    raise AssertionError("no timeout")


async def listen(pool):
    heard = asyncio.Queue()
    async with pool.acquire() as connection:
        await connection.add_listener("news", lambda *told: heard.put_nowait(told[-1]))
        await pool.execute("select pg_notify('news', 'hello')")
        assert await heard.get() == "hello"
        await connection.reset()


with services.postgres() as address:
    stage.run(main(*address))
