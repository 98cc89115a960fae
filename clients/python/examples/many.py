"""Many requests at once with asyncio; every tenth gives up after a second.

usage: many.py [ADDRESS]
"""
import asyncio
import sys

import kvpareto


async def ask(client: kvpareto.AsyncClient, number: int) -> str:
    try:
        answer = await client.generate(f"{number} times {number} is", max_tokens=20,
                                       timeout=1 if number % 10 == 0 else None)
    except kvpareto.Error as error:
        return f"{number}: {error.reason}"
    return f"{number}: {answer.text.strip()!r}"


async def main() -> None:
    async with kvpareto.AsyncClient(sys.argv[1] if len(sys.argv) > 1 else "localhost:50051") as client:
        for line in await asyncio.gather(*(ask(client, number) for number in range(1, 21))):
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
