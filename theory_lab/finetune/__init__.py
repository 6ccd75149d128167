"""Fine-tuning language models: tasks with their examples, their encoding into tokens, their scoring."""
