// A library whose interface is classes, and exceptions.
#include <stdexcept>
#include <string>
struct Widget {
    virtual ~Widget();
    virtual int size() const;
    std::string name;
};
Widget::~Widget() {}
int Widget::size() const { return name.size(); }
Widget make(const std::string &name)
{
    if (name.empty())
        throw std::runtime_error("a widget needs a name");
    Widget widget;
    widget.name = name;
    return widget;
}
extern "C" int widget_version(void) { return 3; }
