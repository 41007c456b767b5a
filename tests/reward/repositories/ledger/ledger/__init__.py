from ledger.book import Book, Entry
from ledger.names import short_name
