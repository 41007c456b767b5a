import unittest

from ledger import Book, short_name


class TestLedger(unittest.TestCase):
    def test_one_entry(self):
        book = Book()
        book.add("food", 12)
        self.assertEqual(book.balance("food"), 12)

    def test_balance_of_nothing(self):
        self.assertEqual(Book().balance("food"), 0)

    def test_refunds(self):
        book = Book()
        book.add("food", 12)
        book.add("food", -2)
        self.assertEqual(book.balance("food"), 10)


def test_names():
    assert short_name(" Groceries ") == "grocerie"
