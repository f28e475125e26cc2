"""The store: what was asked for is there, once, with who asked. Run: pytest tests/unit/test_run_store.py"""

import sqlite3
import threading

import pytest

from fmlab.errors import BadInput, NameTaken, NotFound, StorageFull
from fmlab.runs.queue import ATTEMPTS, LeaseLost, Queue
from fmlab.runs.records import Actor, RunRequest
from fmlab.runs.store import open_store

ANNA = Actor("anna", "test")


def cell(seed, group="g1", size=4):
    config = {
        "dataset": "toy",
        "backbone": "pixels-24",
        "adaptation": {"kind": "knn"},
        "subset": {"scheme": "images", "size": size, "seed": seed},
    }
    return RunRequest("adapt", config, {"seed": seed, "size": size}, group, "toy · pixels-24")


@pytest.fixture
def store(home):
    return open_store(home)


@pytest.fixture
def queue(store):
    queue = Queue(store)
    assert queue.acquire()
    return queue


def launch(store, name, *cells):
    return store.add_study(name, {"dataset": "toy"}, list(cells), [], ANNA)


def test_a_cell_in_two_studies_is_one_run(store):
    launch(store, "first", cell(0), cell(1))
    launch(store, "second", cell(1), cell(2))
    assert len(store.runs()) == 3
    assert set(store.runs("first")["seed"]) == {0, 1}
    assert set(store.runs("second")["seed"]) == {1, 2}


def test_a_name_is_given_once(store):
    launch(store, "first", cell(0))
    with pytest.raises(NameTaken, match="'first'"):
        launch(store, "first", cell(1))
    assert len(store.runs()) == 1  # the refused study queued nothing


def test_a_run_is_found_by_the_beginning_of_its_key(store):
    launch(store, "first", cell(0))
    key = cell(0).key
    assert store.run(key[:8]).key == key
    with pytest.raises(NotFound, match="no run"):
        store.run("ffffffff")
    with pytest.raises(NotFound):
        store.run(key[:3])


def test_every_write_counts_up_the_version_and_leaves_who_did_what(store):
    before = store.version()
    launch(store, "first", cell(0))
    assert store.version() > before
    event = store.events().iloc[0]
    assert (event["actor"], event["verb"], event["subject"]) == ("anna", "launched", "first")


def test_a_refused_write_leaves_nothing(store):
    before = store.version()
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        connection.execute("INSERT INTO measurements VALUES ('cpu', 'x', 'y', 1, 'now')")
        raise ZeroDivisionError
    assert store.measurement("cpu", "x", "y") is None
    assert store.version() == before


def test_a_full_disk_is_one_sentence_and_leaves_the_store_as_it_was(store):
    launch(store, "first", cell(0))
    store.connection.execute("PRAGMA max_page_count = 1")  # SQLite's own stand-in for a disk without room
    with pytest.raises(StorageFull, match="disk is full"):
        launch(store, "second", *[cell(seed) for seed in range(1, 2000)])
    assert [study.name for study in store.studies()] == ["first"]
    assert len(store.runs()) == 1


def test_many_threads_write_at_once(store):
    def write(number):
        for seed in range(5):
            store.request(cell(100 * number + seed), ANNA)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.runs()) == 30


def test_a_damaged_store_is_one_sentence(home):
    home.path.mkdir(parents=True)
    home.database.write_bytes(b"this is not a database, however long one looks at it" * 40)
    with pytest.raises(BadInput, match=r"fmlab\.db"):
        open_store(home)


def test_a_store_from_the_future_is_refused(home, store):
    with sqlite3.connect(home.database) as connection:
        connection.execute("INSERT INTO steps VALUES ('999_from_the_future')")
    with pytest.raises(BadInput, match="newer FMLab"):
        open_store(home)


def test_the_table_of_runs_is_read_again_after_a_write_and_is_nobodys_to_change(store, queue):
    launch(store, "first", cell(0))
    mine = store.runs("first")
    mine.loc[0, "state"] = "nonsense"
    assert store.runs("first")["state"].tolist() == ["queued"]
    queue.claim("cpu")
    assert store.runs("first")["state"].tolist() == ["running"]
    open_store(store.home).cancel([cell(0).key], ANNA)  # by another connection, as another process has one
    launch(store, "second", cell(1))
    assert len(store.runs()) == 2
    assert len(store.runs("first")) == 1


def test_what_a_page_waits_for_goes_before_cells_that_have_not_begun(store, queue):
    launch(store, "first", cell(0), cell(1, group="g2"))
    assert queue.claim("cpu").group == "g1"
    store.request(RunRequest("project", {"dataset": "toy"}, {"asked": 1}, "map", "map of toy"), ANNA)
    assert [queue.claim("cpu").group for _ in range(2)] == ["map", "g2"]


def test_a_group_is_claimed_whole_and_by_one_launcher(store, queue):
    launch(store, "first", cell(0), cell(1), cell(2, group="g2"))
    claim = queue.claim("cpu")
    assert [config["subset"]["seed"] for _, config in claim.runs] == [0, 1]
    assert queue.claim("cpu").group == "g2"
    assert queue.claim("cpu") is None


def test_files_and_downloads_have_queues_of_their_own(store, queue):
    """An import waits neither for a study nor for a download of an hour."""
    launch(store, "first", cell(0))
    assert queue.claim("files") is None
    store.request(RunRequest("download", {"name": "w"}, {"name": "w"}, "gd", "download w"), ANNA)
    store.request(RunRequest("import", {"name": "x"}, {"name": "x"}, "gi", "import x"), ANNA)
    assert queue.claim("files").kind == "import"
    assert queue.claim("downloads").kind == "download"
    assert queue.claim("cpu").kind == "adapt"


def test_only_the_holder_of_the_lease_writes(store, queue):
    launch(store, "first", cell(0))
    rival = Queue(store)
    assert not rival.acquire()  # this process lives
    with pytest.raises(LeaseLost):
        rival.claim("cpu")
    with store.writing() as connection:  # the holder was suspended and its time ran out
        connection.execute("UPDATE leases SET expires = 0")
    assert rival.acquire()
    with pytest.raises(LeaseLost):
        queue.finish({cell(0).key: {}}, 1.0)


def test_a_dead_holder_is_succeeded_at_once(store):
    with store.writing() as connection:
        connection.execute("INSERT INTO leases VALUES ('launcher', '999999999 1', 7, 1e12)")
    queue = Queue(store)
    assert queue.acquire()
    assert queue.token == 8


def test_what_an_earlier_process_left_running_is_queued_again(store, queue):
    launch(store, "first", cell(0), cell(1))
    queue.claim("cpu")
    assert queue.recover() == 2
    assert store.counts("first") == {"queued": 2}
    assert "interrupted" in set(store.events()["verb"])


def test_a_dying_worker_costs_only_the_run_it_was_solving_twice(store, queue):
    launch(store, "first", cell(0), cell(1))
    for attempt in range(2):
        queue.claim("cpu")
        queue.worker_died([cell(0).key, cell(1).key], [cell(0).key], "killed (signal 9)")
        assert store.counts("first").get("failed", 0) == attempt
    assert store.run(cell(0).key).reason == "killed (signal 9)"
    assert store.run(cell(1).key).state == "queued"


def test_a_group_that_keeps_killing_its_worker_is_given_up(store, queue):
    launch(store, "first", cell(0))
    for _ in range(ATTEMPTS):
        queue.claim("cpu")
        queue.worker_died([cell(0).key], [], "killed (signal 9)")
    assert store.run(cell(0).key).state == "failed"


def test_cancel_ends_queued_runs_at_once_and_asks_running_ones(store, queue):
    launch(store, "first", cell(0), cell(1, group="g2"))
    claim = queue.claim("cpu")
    assert store.cancel([cell(0).key, cell(1).key], ANNA) == 2
    assert store.run(cell(1).key).state == "cancelled"
    assert queue.asked_to_cancel(claim.group) == {cell(0).key}


def test_retry_queues_what_ended_badly_and_nothing_else(store, queue):
    launch(store, "first", cell(0), cell(1, group="g2"))
    queue.claim("cpu")
    queue.finish({cell(0).key: {"predictions": "p.parquet"}}, 2.0)
    store.cancel([cell(1).key], ANNA)
    assert store.retry([cell(0).key, cell(1).key], ANNA) == 1
    assert store.counts("first") == {"done": 1, "queued": 1}
    assert store.run(cell(0).key).result == {"predictions": "p.parquet"}


def test_a_new_study_gives_failed_cells_another_chance(store, queue):
    launch(store, "first", cell(0))
    queue.claim("cpu")
    queue.end([cell(0).key], "failed", "no memory")
    launch(store, "second", cell(0))
    run = store.run(cell(0).key)
    assert (run.state, run.reason) == ("queued", None)
