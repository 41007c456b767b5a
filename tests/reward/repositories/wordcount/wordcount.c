#include <stdio.h>

int main(void) {
  int words = 1, c;
  while ((c = getchar()) != EOF) {
    if (c == ' ') words++;
  }
  printf("%d\n", words);
  return 0;
}
