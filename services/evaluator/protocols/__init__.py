"""The protocols over the served path: what is asked (`plan`), of whom (`models`), and how it is measured (`job`)."""
