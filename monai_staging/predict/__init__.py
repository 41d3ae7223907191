"""From a study to what a hospital's systems and a reader can use: lesions, measurements and stage of one scan."""
