"""Do 95% intervals cover, and do tests keep their level? `interval_coverage` does the work.

    tox -e statistics        or        python benchmarks/statistics.py [--quick] [--trials N]

This folder comes first on the path of every script in it, and libraries ask for the standard module
of this name; they get that one.
"""

if __name__ == "__main__":
    import interval_coverage

    interval_coverage.main()
else:
    import importlib.util
    import sysconfig

    _place = sysconfig.get_path("stdlib") + "/statistics.py"
    _spec = importlib.util.spec_from_file_location("statistics", _place)
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
    globals().update(vars(_module))
