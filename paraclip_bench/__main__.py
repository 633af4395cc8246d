"""`python -m paraclip_bench`, also under torchrun."""

from paraclip_bench.cli import main

if __name__ == "__main__":
    main()
