def short_name(name):
    return name.strip().lower()[:8]
