"""The load test: its slow network, and what it makes of what was measured."""

import asyncio
import dataclasses

import mongomock
import pytest

from benchmarks import scaling
from benchmarks.figures import BenchmarkFailed
from benchmarks.noop import METRIC, POINTS
from benchmarks.scaling_proxy import DelayingProxy
from benchmarks.scaling_worker import address_of

LOAD = scaling.Load(workers=2, trials=2, trial_s=0.5)
OUTCOME = scaling.Outcome(
    seconds=2.0,
    lag_s=0.5,
    connections=6,
    mongod_cpu_s=0.4,
    workers_cpu_s=0.8,
    requests={"insert": [0.02] * 8, "update": [0.04] * 2, "find": [9.0] * 2},
    failures=1,
    bytes={"runs": (6000, 3000, 1200)},
)


async def through_the_proxy(delay_s, parts):
    """Send parts to a server that answers each; return the answers and how long they took."""

    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = DelayingProxy(server.sockets[0].getsockname()[1], delay_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
    begin = asyncio.get_running_loop().time()
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0)
    answer = await reader.readexactly(sum(map(len, parts)))
    seconds = asyncio.get_running_loop().time() - begin
    writer.write_eof()
    rest = await reader.read()
    writer.close()
    await proxy.stop()
    server.close()
    return answer, rest, seconds, proxy.connections


class TestProxy:
    def test_each_direction_takes_its_time_and_all_arrives_in_order(self):
        parts = [bytes([65 + number]) * 50 for number in range(20)]
        answer, rest, seconds, connections = asyncio.run(through_the_proxy(0.1, parts))
        assert answer == b"".join(parts)
        assert rest == b""
        assert connections == 1
        # What is sent meanwhile is on its way at the same time: not 20 times as long.
        assert 0.2 <= seconds < 2

    def test_without_a_delay_it_only_passes_on(self):
        answer, _, seconds, _ = asyncio.run(through_the_proxy(0.0, [b"x"]))
        assert answer == b"x"
        assert seconds < 0.2


class TestRows:
    def rows(self):
        return {row.measure: row for row in scaling.rows_of(LOAD, OUTCOME)}

    def test_everything_is_per_trial_or_per_worker(self):
        values = {measure: row.value for measure, row in self.rows().items()}
        assert values["rate"] == 2.0
        assert values["connections"] == 3.0
        assert values["requests"] == 3.0
        assert values["mongod"] == pytest.approx(100)
        assert values["workers"] == pytest.approx(200)
        assert values["failed requests"] == 1
        sizes = [values[f"runs: {kind}"] for kind in ("documents", "files", "indexes")]
        assert sizes == [1000, 500, 200]

    def test_the_latency_of_writes_leaves_reads_out(self):
        rows = self.rows()
        assert rows["a write, 50 %"].value == pytest.approx(20)
        assert 20 < rows["a write, 99 %"].value <= 40

    def test_the_rate_is_beside_the_rate_that_is_possible(self):
        assert self.rows()["rate"].note == "of 4"
        assert self.rows()["requests"].note == "find 0.50, insert 2.00, update 0.50"


class TestCheck:
    @pytest.fixture
    def full(self):
        database = mongomock.MongoClient().db
        for index in range(LOAD.recorded):
            meta = {"sweep": {"trial_index": index}}
            database.runs.insert_one({"_id": index, "status": "COMPLETED", "meta": meta})
            values = [0.5] * POINTS
            database.metrics.insert_one({"run_id": index, "name": METRIC, "values": values})
        return database

    def test_a_complete_record_passes(self, full):
        scaling._check(LOAD, full)

    def test_a_lost_trial_is_noticed(self, full):
        full.runs.delete_one({"_id": 3})
        with pytest.raises(BenchmarkFailed, match="5 of 5 recorded runs are COMPLETED, 6 should"):
            scaling._check(LOAD, full)

    def test_a_trial_that_is_there_twice_is_noticed(self, full):
        full.runs.update_one({"_id": 3}, {"$set": {"meta.sweep.trial_index": 2}})
        with pytest.raises(BenchmarkFailed, match="5 of 6 recorded runs are COMPLETED"):
            scaling._check(LOAD, full)

    def test_a_lost_point_is_noticed(self, full):
        full.metrics.update_one({"run_id": 1}, {"$pop": {"values": 1}})
        with pytest.raises(BenchmarkFailed, match="29 points are recorded of 30"):
            scaling._check(LOAD, full)


def test_each_worker_has_an_address_of_its_own():
    addresses = {address_of(number, 4711) for number in range(5)}
    assert len(addresses) == 5
    assert {dataclasses.replace(address, uri="mongodb://x/").db_name for address in addresses} == {
        "scaling"
    }
