"""Labels by reading: questions for readers and judges, their answers, and the scores that follow from these."""
