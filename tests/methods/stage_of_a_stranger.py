"""A stage that must never be imported when a run is read."""


class Evil: ...
