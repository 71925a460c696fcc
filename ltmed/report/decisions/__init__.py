"""Tables of single runs: on other data, by subgroup, with thresholds and with sets. Renderers are those of reports."""
