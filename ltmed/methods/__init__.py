"""One file per method: its stages as LightningModules, its equations, its own figures. Reads like the paper."""
