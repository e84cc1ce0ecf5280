/* What a board gives the self-test. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

void board_write(const char *text);
void board_exit(void);
void board_start(void);
uint32_t board_instructions(void); /* since then, where the emulator counts one as a nanosecond */
uint32_t *board_stack(void);
uint32_t *board_stack_end(void); /* where it would meet the data */

#endif
