"""A database in memory whose requests can be counted, delayed, and made to fail."""

import threading

WRITES = frozenset(
    {"insert_one", "insert_many", "find_one_and_update", "update_one", "update_many", "bulk_write"}
)
READS = frozenset({"find", "find_one", "aggregate", "count_documents"})


class DatabaseDouble:
    """Stands before a database of mongomock.

    Parameters
    ----------
    database
        Carries out the requests, one at a time.
    before, after
        Called with ``collection.method`` around each request; may raise.
    """

    def __init__(self, database, before=None, after=None):
        self.database = database
        self.before = before or (lambda request: None)
        self.after = after or (lambda request: None)
        self.lock = threading.Lock()

    def __getitem__(self, name):
        return _CollectionDouble(self, self.database[name], name)

    def list_collection_names(self):
        return self.database.list_collection_names()


class _CollectionDouble:
    def __init__(self, owner, collection, name):
        self._owner = owner
        self._collection = collection
        self._name = name

    def __getattr__(self, method):
        carry_out = getattr(self._collection, method)
        if method not in WRITES | READS:
            return carry_out

        def request(*arguments, **named):
            self._owner.before(f"{self._name}.{method}")
            with self._owner.lock:
                answer = carry_out(*arguments, **named)
                if method in {"find", "aggregate"}:
                    answer = list(answer)
            self._owner.after(f"{self._name}.{method}")
            return answer

        return request
