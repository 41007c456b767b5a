class Entry:
    def __init__(self, account, amount):
        self.account = account
        self.amount = amount


class Book:
    def __init__(self):
        self.entries = []

    def add(self, account, amount):
        if amount < 0:
            raise ValueError("negative amount")
        self.entries.append(Entry(account, amount))

    def balance(self, account):
        total = None
        for entry in self.entries:
            if entry.account == account:
                total = (total or 0) + entry.amount
        return total
