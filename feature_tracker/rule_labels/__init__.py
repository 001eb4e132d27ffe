"""Label features by rules over a lexicon of word families, without a language model."""
