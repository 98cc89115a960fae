"""Parts of compare_llamacpp.py: this engine and llama.cpp side by side."""
