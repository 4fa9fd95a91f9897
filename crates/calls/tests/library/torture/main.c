/* Runs the rows of a subject: SUBJECT all, SUBJECT/ROW those from that row on. What begins with `-` is a row to
 * leave out, since its export was refused. Each row prints what its export did, after its name. */
#include "rows.h"
#include <locale.h>
extern const struct row scalars[], structures[], buffers[], ownership[], callbacks[], variables[], files[], jumps[],
    threads[], processes[];
static const struct {
    const char *name;
    const struct row *rows;
} subjects[] = {
    {"scalars", scalars}, {"structures", structures}, {"buffers", buffers}, {"ownership", ownership},
    {"callbacks", callbacks}, {"variables", variables}, {"files", files}, {"jumps", jumps},
    {"threads", threads}, {"processes", processes},
};
static int is_left_out(const char *name, char **arguments)
{
    for (; *arguments; arguments++)
        if ((*arguments)[0] == '-' && !strcmp(*arguments + 1, name))
            return 1;
    return 0;
}
int main(int count, char **arguments)
{
    (void)count;
    setlocale(LC_ALL, "C.UTF-8");
    for (char **argument = arguments + 1; *argument; argument++) {
        size_t length = strcspn(*argument, "/");
        for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
            if (strncmp(subjects[i].name, *argument, length) || subjects[i].name[length])
                continue;
            int is_reached = !(*argument)[length];
            for (const struct row *row = subjects[i].rows; row->name; row++) {
                is_reached |= !strcmp(*argument + length + 1, row->name);
                if (!is_reached || is_left_out(row->name, arguments))
                    continue;
                printf("%s: ", row->name);
                fflush(stdout);
                row->run();
                printf("\n");
                fflush(stdout);
            }
        }
    }
    return 0;
}
