def check(settings, lock):
    pass
